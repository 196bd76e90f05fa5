"""A parameter that a profile sets for all models must not break the calls to one that refuses it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace

from llmswitch.errors import BadRequestError, ConfigError
from llmswitch.layers.base import Layer, opened
from llmswitch.providers.base import Provider
from llmswitch.types import PARAMETERS, Chunk, Request

__all__ = ["LenientLayer"]


class LenientLayer(Layer):
    """Asks again without a refused parameter that is `optional`; raises ConfigError for one that was asked for."""

    def __init__(self, inner: Provider, *, warn: Callable[[str], None]) -> None:
        super().__init__(inner)
        self.warn = warn

    async def stream(self, request: Request) -> AsyncIterator[Chunk]:
        """The same stream; each parameter is dropped at most once, and only the vendor's own word drops it."""
        while True:
            try:
                async with opened(self.inner.stream(request)) as chunks:
                    async for chunk in chunks:
                        yield chunk
                return
            except BadRequestError as error:
                request = self._without_refused(request, error)

    def _without_refused(self, request: Request, error: BadRequestError) -> Request:
        name = error.parameter
        if name not in PARAMETERS or getattr(request.parameters, name) is None:
            raise error
        if name not in request.optional:
            raise ConfigError(
                f"{request.model} refuses {name}: leave it out. {error.message}",
                provider=error.provider,
                request_model=error.request_model,
                status=error.status,
                request_id=error.request_id,
                parameter=name,
            ) from error
        self.warn(f"{request.model} refuses {name}, which the profile sets: asked without it.")
        return replace(request, parameters=replace(request.parameters, **{name: None}))
