"""Remove a person's records from everything that an installation keeps, on record."""

from surefoot.erasure.forget_unit import ForgetRequest, ServerTextReplacer, forget_unit

__all__ = ["ForgetRequest", "ServerTextReplacer", "forget_unit"]
