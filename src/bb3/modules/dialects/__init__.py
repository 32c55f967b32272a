"""How a module's prompt is written and its answer read, one dialect a file."""

from bb3.core.errors import UsageError
from bb3.modules.dialects.base import Dialect, fit
from bb3.modules.dialects.chat import ChatDialect
from bb3.modules.dialects.fewshot import FewShotDialect
from bb3.modules.dialects.opt import OptDialect
from bb3.modules.dialects.r2c2 import R2C2Dialect

__all__ = ["DIALECTS", "Dialect", "dialect", "fit"]

DIALECTS: dict[str, Dialect] = {
    each.name: each for each in (OptDialect(), FewShotDialect(), ChatDialect(), R2C2Dialect())
}


def dialect(name: str) -> Dialect:
    """A dialect by its name. Raises UsageError."""
    try:
        return DIALECTS[name]
    except KeyError:
        known = ", ".join(DIALECTS)
        raise UsageError(f"There is no dialect {name!r}.", remedy=f"Known are: {known}.") from None
