"""A loaded model in a process of its own: what it is asked, the protocol between processes, how they are started."""
