"""Every exception fedspine raises on purpose.

    FedspineError
    ├── InputError           a person gave something unusable: plan, site folder, option (exit code 2)
    │   ├── ConfigError      a plan or site file
    │   ├── CohortError      a site folder that cannot be used at all
    │   └── SeriesError      one series or file that cannot be used; the others go on
    │       └── PassingError one that may be usable the next time, for the reason lies outside of it
    ├── PrivacyError         a mechanism was asked for something it cannot prove
    │   └── BudgetSpent      the site's budget does not cover the next release
    ├── Refused              the site's policy says no; carries a reason code and nothing else
    └── EgressBlocked        an outgoing message does not fit its stage's schema

A message gives the rule, what was found and the remedy. It never holds a path, a name, a date or a UID: it may be
read by someone who must not see one. Where a local reader needs the place, it travels beside the error
(`cohort.patient.Rejected.where`), never in it.
"""


class FedspineError(Exception):
    """The root of the tree."""


class InputError(FedspineError):
    """Raised when a person gave something unusable.

    Args:
        rule: what must hold, as a sentence without its full stop.
        found: what was there instead, without anything of a patient.
        remedy: what to do now.
    """

    def __init__(self, rule: str, found: str, remedy: str) -> None:
        super().__init__(f"{rule}; found {found}; {remedy}.")
        self.rule, self.found, self.remedy = rule, found, remedy


class ConfigError(InputError):
    """Raised when a plan or a site file is wrong."""


class CohortError(InputError):
    """Raised when a site folder cannot be used at all."""


class SeriesError(InputError):
    """Raised when one series, file or mask cannot be used; the other patients go on."""


class PassingError(SeriesError):
    """Raised when a file could not be read for a reason that is not in it; the next start tries again."""


class PrivacyError(FedspineError):
    """Raised when a mechanism is asked for something that it cannot prove."""


class BudgetSpent(PrivacyError):
    """Raised before a release that the site's budget does not cover."""


class Refused(FedspineError):
    """Raised when a site's policy says no.

    Args:
        code: one of `client.policy.CODES`; the only thing about a refusal that may leave the site.
    """

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class EgressBlocked(FedspineError):
    """Raised when an outgoing message does not fit its stage's schema."""
