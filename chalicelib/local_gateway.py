"""The app as Chalice knows it: how it is packaged, deployed, and served on your machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from chalice.app import Chalice, IAMAuthorizer

from chalicelib.gateway import METHODS, Function, Gateway, View


class ChaliceGateway(Gateway, Chalice):
    """The same views under the same paths, told to Chalice too."""

    def __init__(self, environ: Callable[[], Mapping[str, str]]) -> None:
        # configure_logs would print beside our own JSON lines.
        Chalice.__init__(self, app_name="hookshelf", configure_logs=False)
        Gateway.__init__(self, environ)
        # With anything less, API Gateway decodes bodies as UTF-8 text.
        self.api.binary_types = ["*/*"]

    def on(self, path: str, *, signed: bool = False) -> Callable[[View], View]:
        """See Gateway.on."""
        authorizer = IAMAuthorizer() if signed else None
        tell_chalice = self.route(
            path, methods=[*METHODS], content_types=["*/*"], authorizer=authorizer
        )
        register = super().on(path, signed=signed)
        return lambda view: register(tell_chalice(view))

    def function(self, function: Function) -> Function:
        """See Gateway.function."""
        wrapped: Function = self.lambda_function()(function)
        return wrapped
