"""All services about who comes in and how, as routes and commands are given them."""

from dataclasses import dataclass

from tidemill.accounts.attempts import Attempts
from tidemill.accounts.oidc import OidcSignIn
from tidemill.accounts.sessions import Sessions
from tidemill.accounts.sign_in import SignIn
from tidemill.accounts.tokens import Tokens


@dataclass(frozen=True, slots=True)
class Entrance:
    """Passwords, sessions and tokens, what slows down guessing, and the issuer where one is set up."""

    sign_in: SignIn
    sessions: Sessions
    tokens: Tokens
    attempts: Attempts
    oidc: OidcSignIn | None = None

    async def forget(self) -> None:
        """Deletes the rows of sessions and failures that count no more."""
        await self.sessions.forget()
        await self.attempts.forget()
