"""What the system refused, as a sentence that says what to do about it. Pure."""

import errno

from model.endings import DISK_FULL, describe_system_error

WHAT_TO_DO = {
    errno.EACCES: "give this user the right to it, or name another place",
    errno.EPERM: "give this user the right to it, or name another place",
    errno.EROFS: "it can only be read; work in a folder that can be written",
    errno.EEXIST: "something else has that name; rename or remove it",
    errno.ENOTDIR: "a part of that path is a file and must be a folder; rename or remove it",
    errno.EISDIR: "it is a folder and must be a file; rename or remove it",
    errno.ENOENT: "it, or the folder that holds it, is not there; make it, or name another place",
    errno.ENOTEMPTY: "the folder holds something else; name another place",
    errno.ELOOP: "its links lead in a circle; mend them",
    errno.ENAMETOOLONG: "name a shorter one",
    errno.EMFILE: "allow this user more open files (`ulimit -n`)",
    errno.ENFILE: "the machine has no more open files to give; close some programs",
    errno.ENOMEM: "the machine has no memory left; close some programs",
    errno.ENOLCK: "files cannot be locked there; work on a file system with locks",
    errno.ENOSYS: "the file system cannot do that; work on another one",
    errno.ENOTSUP: "the file system cannot do that; work on another one",
    errno.ESTALE: "the server of this folder has lost it; mount it again",
    errno.EIO: "the disk or its connection fails; look at the machine's log",
    errno.EAGAIN: "try again; more processes or memory may be needed (`ulimit -u`)",
    errno.ENXIO: "it is no ordinary file; rename or remove it",
}
"""Number of an error -> what the user can do."""
FREE_SPACE = "free some space, or raise the limit"
OTHERWISE = "mend that, and run the command again"


def explain_os_error(error: OSError) -> str:
    """Say what was refused, where, and what to do next."""
    advice = FREE_SPACE if error.errno in DISK_FULL else WHAT_TO_DO.get(error.errno or 0, OTHERWISE)
    second = f" -> {error.filename2}" if error.filename2 is not None else ""
    # Python's own refusals, such as of a folder for temporary files, name no file and say it in words.
    what = describe_system_error(error) if error.filename is not None else error.strerror or str(error)
    return f"{what}{second}; {advice}"
