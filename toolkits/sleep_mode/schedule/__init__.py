"""When to sleep: ticks, lease, switches, quiet time, early waking, and the workflow for AgentOS."""
