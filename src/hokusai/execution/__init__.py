"""Where independent pieces of work run: in this process, or in a pool of processes on this machine."""
