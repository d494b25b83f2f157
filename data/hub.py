"""Publishing on the Hub: a folder's files in one commit, and one sentence where it fails."""

import argparse
from collections.abc import Mapping
from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi, get_session, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled
from huggingface_hub.utils import httpx

# Between two packets, not for the whole: a connection that is silent for so long is lost.
SILENT_SECONDS = 60.0
REFUSALS = {
    401: "the Hub does not know the token; log in with `hf auth login`",
    402: "the Hub asks for a paid plan for this kind of repository",
    403: "the token may not write there; log in with one that may (`hf auth login`)",
    404: "there is no such repository or revision, or the token may not see it",
}


class PublishError(RuntimeError):
    """Files that could not be published; the text is one sentence that says what to do."""


def add_publishing_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what every script that publishes takes, beside the repository's name."""
    parser.add_argument("--private", action="store_true", help="of a new repository: yours alone")
    parser.add_argument("--revision", help="a branch, made where it is missing (default: main)")


def publishing_parser(description: str) -> argparse.ArgumentParser:
    """The arguments of a script that does nothing but publish."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("repository", help="user/name")
    add_publishing_arguments(parser)
    return parser


def publish(
    files: Mapping[str, Path | bytes],
    repository: str,
    kind: str = "model",
    *,
    private: bool = False,
    revision: str | None = None,
) -> str:
    """Put files into a repository of the Hub, in one commit; create it where it is missing.

    Args:
        files: what to publish, by its path in the repository.
        repository: `user/name`.
        kind: "model", "dataset" or "space" (of Gradio).
        private: whether a new repository is seen by its owner alone.
        revision: the branch to commit to.

    Returns:
        The address of the repository.

    Raises:
        PublishError: no token, one that may not write, or a connection that was lost.
    """
    if not get_token():
        raise PublishError("There is no token of the Hub here; log in with `hf auth login`.")
    get_session().timeout = httpx.Timeout(SILENT_SECONDS)
    api = HfApi()
    operations = [
        CommitOperationAdd(path_in_repo=path, path_or_fileobj=content)
        for path, content in sorted(files.items())
    ]
    try:
        url = api.create_repo(
            repository,
            private=private or None,
            repo_type=kind,
            space_sdk="gradio" if kind == "space" else None,
            exist_ok=True,
        )
        if revision:
            api.create_branch(repository, branch=revision, repo_type=kind, exist_ok=True)
        api.create_commit(
            repository,
            operations,
            commit_message=f"Publish {len(operations)} files",
            repo_type=kind,
            revision=revision,
        )
    except (HfHubHTTPError, HFValidationError, OSError, RuntimeError, httpx.HTTPError) as error:
        raise PublishError(f"{repository} was not published: {_reason(error)}.") from error
    return str(url)


def _reason(error: Exception) -> str:
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        return REFUSALS.get(status, f"the Hub refused it ({status}: {error.server_message})")
    if isinstance(error, HFValidationError):
        return "its name must be like user/name"
    if isinstance(error, OfflineModeIsEnabled):
        return "the Hub is switched off here (HF_HUB_OFFLINE)"
    return f"the connection to the Hub was lost ({type(error).__name__})"
