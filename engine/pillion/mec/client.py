"""What the clients of the MEC APIs have in common: one session each, by way of the engine's gateway."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import aiohttp

from pillion.errors import MecError


class ApiClient:
    """A session whose failures leave as MecErrors. Use as a context manager. `answer_s`: the limit for an answer."""

    answer_s: ClassVar[float]

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=self.answer_s), headers={"User-Agent": "pillion-engine"}
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def _exchange(self, method: str, url: str, unanswered: str, **about: Any) -> tuple[int, bytes]:
        """Status and body of an answer, whatever they are. Raises MecError, saying `unanswered`, if none comes."""
        try:
            async with self._session.request(method, url, **about) as answer:
                return answer.status, await answer.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise MecError(
                f"{unanswered}: {str(error) or 'timed out'}",
                place=url,
                remedy="`pillion inspect` shows whether gateway and sandbox run",
            ) from error
