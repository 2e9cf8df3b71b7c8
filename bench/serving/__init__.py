"""The servers that `bench.gateway` compares: each as a context manager that yields a running one."""
