"""OpenAI, Azure, Anthropic and Gemini on one loopback port, with their batch calls and the ordinary ones beside.

`python -m tests.servers.batch_vendors` is the same in a process of its own: it prints its port and environment as JSON
and goes when its input ends. `POST /_behaviour` sets fields of the behaviour there, `GET /_jobs` tells of the jobs.
"""

from __future__ import annotations

import itertools
import json
import re
import sys
import threading
import time
from dataclasses import replace
from urllib.parse import unquote

from tests.servers.batch_answers import EVENTS, BatchAnswer, Name, RefusedError, file_of, key_of
from tests.servers.batch_forms import JOBS, WHOLE, anthropic_results, gemini_job, openai_results
from tests.servers.batch_jobs import BatchBehaviour, Failing, Job, answer_to, prompt_of, tokens
from tests.servers.recorder import Handler, Loopback, Seen

__all__ = ["KEY", "BatchBehaviour", "BatchVendors", "Failing", "Job", "answer_to", "tokens"]

KEY = "sk-test-0123456789abcdef"


class BatchVendors(Loopback):
    """`behaviour` is what becomes of jobs, `behaviours` the same by model; both may be set while it runs. `jobs` are
    all that were ever made, `uploads` the files, by their ids; `live` are the models of ordinary calls.
    """

    def __init__(self, behaviour: BatchBehaviour | None = None) -> None:
        super().__init__()
        self.behaviour = behaviour or BatchBehaviour()
        self.behaviours: dict[str, BatchBehaviour] = {}
        self.jobs: list[Job] = []
        self.live: list[str] = []
        self.uploads: dict[str, bytes] = {}
        self._file_looks: dict[str, int] = {}
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    @property
    def environ(self) -> dict[str, str]:
        """What configures all four. A failure is told at once: who tests retries asks for them."""
        return {
            "LLM_MAX_RETRIES": "0",
            "OPENAI_API_KEY": KEY,
            "OPENAI_BASE_URL": f"{self.url}/v1",
            "OPENAI_MODEL": "gpt-4o",
            "AZURE_OPENAI_ENDPOINT": self.url,
            "AZURE_OPENAI_API_KEY": KEY,
            "AZURE_OPENAI_DEPLOYMENT_NAME": "my-batch",
            "AZURE_OPENAI_MODEL": "gpt-4o",
            "ANTHROPIC_API_KEY": KEY,
            "ANTHROPIC_BASE_URL": self.url,
            "ANTHROPIC_MODEL": "claude-sonnet-4-5",
            "GOOGLE_API_KEY": KEY,
            "GOOGLE_GEMINI_BASE_URL": self.url,
            "GEMINI_MODEL": "gemini-2.5-flash",
        }

    def behave(self, model: str) -> BatchBehaviour:
        """What holds for jobs of a model now."""
        return self.behaviours.get(model, self.behaviour)

    def respond(self, seen: Seen, out: Handler) -> None:
        vendor = _vendor(seen)
        if seen.path.startswith("/_"):
            BatchAnswer(out, "openai").json(self._control(seen))
            return
        answer = BatchAnswer(out, vendor)
        try:
            self._step(answer, seen, vendor)
        except RefusedError as refused:
            answer.fail(refused.failing)

    def _step(self, answer: BatchAnswer, seen: Seen, vendor: Name) -> None:
        given = key_of(seen)
        if given != KEY:
            raise RefusedError(Failing(401, "invalid_api_key", f"Incorrect API key provided: {given}."))
        for method, pattern, step in _ROUTES:
            found = re.fullmatch(pattern, seen.path)
            if found and method == seen.method:
                step(self, answer, seen, vendor, unquote((*found.groups(), None)[0] or ""))
                return
        raise RefusedError(Failing(404, "not_found_error", f"nothing at {seen.path}"))

    def upload(self, answer: BatchAnswer, seen: Seen, vendor: Name, _: str) -> None:
        content = file_of(seen)
        with self._lock:
            name = f"file-{next(self._numbers)}"
            self.uploads[name] = content
        self.file(answer, seen, vendor, name)

    def file(self, answer: BatchAnswer, seen: Seen, vendor: Name, name: str) -> None:
        if name not in self.uploads:
            raise RefusedError(Failing(404, "not_found", f"No such File object: {name}"))
        looks = self._file_looks[name] = self._file_looks.get(name, 0) + 1
        status = "processed" if looks > self.behaviour.file_looks else "pending"
        size = len(self.uploads[name])
        answer.json({"id": name, "object": "file", "bytes": size, "purpose": "batch", "status": status})

    def content(self, answer: BatchAnswer, seen: Seen, vendor: Name, name: str) -> None:
        job = self._job(name[9:])
        if job is None or job.behave().forgets:
            raise RefusedError(Failing(404, "not_found", f"No such File object: {name}"))
        answer.lines(job.behave(), list(openai_results(job, name.startswith("file-err-"))))

    def create(self, answer: BatchAnswer, seen: Seen, vendor: Name, model: str) -> None:
        """A job of OpenAI, Azure, Anthropic or Gemini, by what its body says."""
        body = seen.json
        if vendor == "gemini":
            ours = body["batch"]["displayName"]
            lines = body["batch"]["inputConfig"]["requests"]["requests"]
            requests = [(line["metadata"]["key"], prompt_of(line["request"])) for line in lines]
        elif vendor == "anthropic":
            ours, model = None, body["requests"][0]["params"]["model"]
            requests = [(line["custom_id"], prompt_of(line["params"])) for line in body["requests"]]
        else:
            ours = (body.get("metadata") or {}).get("llmswitch")
            read = [json.loads(line) for line in self.uploads[body["input_file_id"]].split(b"\n") if line]
            model = read[0]["body"]["model"]
            requests = [(line["custom_id"], prompt_of(line["body"])) for line in read]
        behaviour = self.behave(model)
        if behaviour.refuses is not None:
            raise RefusedError(Failing(behaviour.refuses, "api_error", "not now"))
        with self._lock:
            number = next(self._numbers)
            name = {"gemini": f"batches/b{number}", "anthropic": f"msgbatch_{number}"}.get(vendor, f"batch_{number}")
            file = "" if vendor in ("gemini", "anthropic") else body["input_file_id"]
            job = Job(vendor, name, model, ours, requests, seen.headers, lambda: self.behave(model), file)
            self.jobs.append(job)
        time.sleep(behaviour.create_s)
        if not behaviour.drops_create:
            answer.json(JOBS[vendor](job))

    def list_jobs(self, answer: BatchAnswer, seen: Seen, vendor: Name, _: str) -> None:
        """Newest first, in pages."""
        with self._lock:
            found = [job for job in reversed(self.jobs) if job.vendor == vendor and not job.behave().forgets]
        size = int(seen.query.get("limit") or seen.query.get("pageSize") or 20)
        after = seen.query.get("after") or seen.query.get("after_id") or seen.query.get("pageToken")
        names = [job.id for job in found]
        begin = names.index(after) + 1 if after in names else 0
        page, more = found[begin : begin + size], len(found) > begin + size
        documents = [JOBS[vendor](job) for job in page]
        if vendor == "gemini":
            answer.json({"operations": documents, **({"nextPageToken": page[-1].id} if more else {})})
        else:
            answer.json({"object": "list", "data": documents, "has_more": more})

    def look(self, answer: BatchAnswer, seen: Seen, vendor: Name, name: str) -> None:
        job = self._known(name)
        job.look()
        cut = job.behave().cut if job.over else None
        if vendor != "gemini" or cut is None:
            answer.json(JOBS[vendor](job))
            return
        # elements that end where the lines of a file would, and what is around them
        begin, end = b'{"done": true, "response": {"inlinedResponses": {"inlinedResponses": [', b"]}}, "
        rest = json.dumps({**gemini_job(job, answers=False), "done": True}).encode()[1:]
        inlined = gemini_job(job)["response"]["inlinedResponses"]["inlinedResponses"]
        elements = [json.dumps(element).encode() for element in inlined]
        if cut == "between":
            answer.send(begin + b",".join(elements[: len(elements) // 2]) + end + rest)
        else:
            answer.lines(job.behave(), [begin, *(element + b"," for element in elements)])

    def results(self, answer: BatchAnswer, seen: Seen, vendor: Name, name: str) -> None:
        job = self._known(name)
        answer.lines(job.behave(), list(anthropic_results(job)))

    def cancel(self, answer: BatchAnswer, seen: Seen, vendor: Name, name: str) -> None:
        job = self._known(name)
        if job.over and vendor != "gemini":
            raise RefusedError(Failing(400, "invalid_request_error", f"Cannot cancel a batch that is {job.outcome}."))
        job.cancel()
        answer.json({} if vendor == "gemini" else JOBS[vendor](job))

    def ask(self, answer: BatchAnswer, seen: Seen, vendor: Name, model: str) -> None:
        """An ordinary call, streamed in two pieces or not."""
        body = seen.json
        model, prompt = body.get("model") or model, prompt_of(body)
        self.live.append(model)
        whole = WHOLE[vendor](model, prompt)
        if body.get("stream") or "streamGenerateContent" in seen.path:
            answer.stream(EVENTS[vendor](whole))
        else:
            answer.json(whole)

    def _job(self, name: str) -> Job | None:
        return next((job for job in self.jobs if job.id == name), None)

    def _known(self, name: str) -> Job:
        job = self._job(name)
        if job is None or job.behave().forgets:
            raise RefusedError(Failing(404, "not_found_error", f"No batch found with id '{name}'."))
        return job

    def _control(self, seen: Seen) -> object:
        if seen.method == "POST":
            self.behaviour = replace(self.behaviour, **seen.json)
        return [
            {"vendor": j.vendor, "id": j.id, "lines": j.lines, "ours": j.ours, "created": j.created} for j in self.jobs
        ]


_ROUTES = (
    ("POST", r"/(?:openai/)?(?:v1/)?files", BatchVendors.upload),
    ("GET", r"/(?:openai/)?(?:v1/)?files/([^/]+)", BatchVendors.file),
    ("GET", r"/(?:openai/)?(?:v1/)?files/([^/]+)/content", BatchVendors.content),
    ("POST", r"/(?:openai/)?(?:v1/)?batches|/v1/messages/batches", BatchVendors.create),
    ("POST", r"/v1(?:beta)?/models/([^:]+):batchGenerateContent", BatchVendors.create),
    ("GET", r"/(?:openai/)?(?:v1/|v1beta/)?batches|/v1/messages/batches", BatchVendors.list_jobs),
    ("GET", r"/v1/messages/batches/([^/]+)/results", BatchVendors.results),
    ("GET", r"/(?:openai/)?(?:v1/)?batches/(batch_[^/]+)", BatchVendors.look),
    ("GET", r"/v1/messages/batches/([^/]+)", BatchVendors.look),
    ("GET", r"/v1(?:beta)?/(batches/b[^/]+)", BatchVendors.look),
    ("POST", r"/(?:openai/)?(?:v1/)?batches/(batch_[^/]+)/cancel", BatchVendors.cancel),
    ("POST", r"/v1/messages/batches/([^/]+)/cancel", BatchVendors.cancel),
    ("POST", r"/v1(?:beta)?/(batches/b[^/:]+):cancel", BatchVendors.cancel),
    ("POST", r"/(?:openai/)?(?:v1/)?(?:deployments/([^/]+)/)?chat/completions", BatchVendors.ask),
    ("POST", r"/v1/messages", BatchVendors.ask),
    ("POST", r"/v1(?:beta)?/models/([^:]+):(?:g|streamG)enerateContent", BatchVendors.ask),
)


def _vendor(seen: Seen) -> Name:
    if "x-goog-api-key" in seen.headers:
        return "gemini"
    if seen.path.startswith("/openai/"):
        return "azure"
    return "anthropic" if seen.path.startswith("/v1/messages") else "openai"


def main() -> None:
    """Serve until the input ends."""
    with BatchVendors() as vendors:
        print(json.dumps({"port": vendors.port, "environ": vendors.environ}), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
