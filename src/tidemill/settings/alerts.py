"""What is watched, and who is told."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from tidemill.settings.section import Section, http_url


class AlertRuleSettings(Section):
    """One rule. A rule of your own under the name of one that ships takes its place."""

    metric: str = Field(description="What is watched; see the page on alerts.")
    above: float | None = Field(None, description="The rule is broken by a greater value.")
    below: float | None = Field(None, description="The rule is broken by a smaller value.")
    window: float = Field(300.0, gt=0, le=2_678_400, description="Seconds over which the metric is taken.")
    hold: float = Field(0.0, ge=0, le=86_400, description="Seconds for which it stays broken before it fires.")
    severity: Literal["info", "warning", "critical"] = Field("warning", description="How soon somebody should look.")
    task: str | None = Field(None, description="Only inferences of this task.")
    summary: str | None = Field(None, max_length=500, description="What a person is told.")
    enabled: bool = Field(True, description="Whether it is looked at.")

    @model_validator(mode="after")
    def _one_threshold(self) -> "AlertRuleSettings":
        if (self.above is None) == (self.below is None):
            raise ValueError("needs `above` or `below`, and not both")
        return self


class AlertWebhookSettings(Section):
    """An address that is sent JSON."""

    url: Annotated[str, AfterValidator(http_url)] = Field(description="Where alerts are posted.")
    signing_secret: str | None = Field(None, description="The name of the secret with which they are signed.")


class AlertSlackSettings(Section):
    """A channel of Slack, or of what takes its incoming webhooks, such as Mattermost."""

    url_secret: str = Field(description="The name of the secret that holds the incoming webhook's address.")


class AlertEmailSettings(Section):
    """A mail server."""

    host: str = Field(min_length=1, description="The mail server.")
    port: int = Field(587, ge=1, le=65535, description="Its port.")
    security: Literal["starttls", "tls", "none"] = Field("starttls", description="How the connection is encrypted.")
    user: str | None = Field(None, description="The name to sign in with.")
    password_secret: str | None = Field(None, description="The name of the secret that holds the password.")
    sender: str = Field(min_length=3, description="The address that mails come from.")
    to: list[str] = Field(min_length=1, description="The addresses that they go to.")

    @model_validator(mode="after")
    def _whole(self) -> "AlertEmailSettings":
        if (self.user is None) != (self.password_secret is None):
            raise ValueError("needs `user` and `password_secret` together, or neither")
        if self.user is not None and self.security == "none":
            raise ValueError("sends no password over a connection that is not encrypted: use `starttls` or `tls`")
        if any("\n" in one or "\r" in one for one in (self.sender, *self.to)):
            raise ValueError("takes addresses of one line each")
        return self


class AlertSettings(Section):
    """Which rules there are, how often they are looked at, and who is told."""

    rules: dict[str, AlertRuleSettings] = Field(default_factory=dict, description="Rules of your own, by name.")
    every: float = Field(15.0, ge=1, description="Seconds between two looks at the rules.")
    webhook: AlertWebhookSettings | None = Field(None, description="An address that is sent JSON.")
    slack: AlertSlackSettings | None = Field(None, description="A channel of Slack.")
    email: AlertEmailSettings | None = Field(None, description="A mail server.")
