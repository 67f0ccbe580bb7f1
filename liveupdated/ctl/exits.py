# SPDX-License-Identifier: LGPL-2.1-or-later
"""Exit codes: the numbers are those of the error tree, which is the one place for them."""

from enum import IntEnum

from liveupdated import errors


class Exit(IntEnum):
    """What liveupdatectl exits with.  Without a gap in meaning: one error class, one code."""

    OK = 0
    FAILED = errors.LiveUpdateError.exit_code
    INVALID_ARGUMENT = errors.InvalidArgument.exit_code  # click's own usage errors are 2, too
    NOT_AUTHORIZED = errors.NotAuthorized.exit_code
    NOT_FOUND = errors.NotFound.exit_code
    BUSY = errors.Busy.exit_code
    BLOCKED = errors.Blocked.exit_code
    INHIBITED = errors.Inhibited.exit_code
    BAD_KERNEL = errors.BadKernel.exit_code
    NOT_STAGED = errors.NotStaged.exit_code
    BUDGET_EXCEEDED = errors.BudgetExceeded.exit_code
    KEXEC_REFUSED = errors.KexecRefused.exit_code
    NO_SPACE = errors.NoSpace.exit_code
    SAVE_FAILED = errors.SaveFailed.exit_code
    RESTORE_FAILED = errors.RestoreFailed.exit_code
    BAD_SESSION = errors.BadSession.exit_code
    CANCELLED = errors.Cancelled.exit_code
    SERVICE_ERROR = errors.ServiceError.exit_code
    DISCONNECTED = errors.Disconnected.exit_code
