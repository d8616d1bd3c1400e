"""The subcommands of ``vqad``, a file each."""
