"""Control a worker: routes in shared memory, and which versions are loaded, switched and cut."""
