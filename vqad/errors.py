"""The one error type that vqad raises for bad input."""


class VqadError(ValueError):
    """Bad input from the user: a file, a folder, a setting or a checkpoint.

    The message is one line that names the file or setting, says what is wrong with it and what to
    do. The launcher and the command line print it as ``error: <message>`` and exit with code 2.
    """
