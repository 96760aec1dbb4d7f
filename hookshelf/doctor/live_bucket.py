"""A bucket that a deployed stage archives into, as S3 has it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from chalicelib.settings import BucketPath
from chalicelib.types import Json
from hookshelf.deploy.bucket import key_arn
from hookshelf.doctor.aws_reader import reading
from hookshelf.doctor.findings import NotChecked
from hookshelf.doctor.policy_coverage import statements

if TYPE_CHECKING:
    from hookshelf.doctor.live_stage import LiveStage


class LiveBucket:
    """One bucket, and the paths in it that are archived into. Properties may raise NotChecked."""

    def __init__(self, stage: LiveStage, name: str, paths: Sequence[BucketPath]) -> None:
        self.stage = stage
        self.name = name
        self.paths = paths

    @property
    def arn(self) -> str:
        """Of the bucket."""
        return f"arn:{self.stage.arn['partition']}:s3:::{self.name}"

    @property
    def owner(self) -> str:
        """The account that has to own it."""
        return self.stage.settings.bucket_owner or self.stage.account

    @property
    def harden(self) -> str:
        """The command that makes it what `hookshelf deploy` would have made."""
        if self.stage.is_stack:
            return f"{self.stage.redeploy} --create-bucket"
        paths = json.dumps([bucket_path.path for bucket_path in self.paths])
        return (
            "python -c 'from hookshelf.deploy.bucket import harden; "
            f'print(*harden("{self.name}", {paths}), sep="\\n")\''
        )

    @cached_property
    def region(self) -> str | None:
        """Where it is; None where there is no such bucket."""
        response = self._get("head_bucket", ["404", "NoSuchBucket"])
        return None if response is None else response.get("BucketRegion", self.stage.arn["region"])

    @property
    def is_owned(self) -> bool:
        """Whether S3 says that it is this account's. Only for a bucket that we may look at anyhow.

        https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucket-owner-condition.html
        """
        return self._get("head_bucket", ["403"], ExpectedBucketOwner=self.owner) is not None

    @cached_property
    def public_access(self) -> Json:
        """What of public access is blocked."""
        absent = ["NoSuchPublicAccessBlockConfiguration"]
        response = self._get("get_public_access_block", absent) or {}
        blocked: Json = response.get("PublicAccessBlockConfiguration", {})
        return blocked

    @cached_property
    def policy(self) -> list[Json]:
        """The statements of the bucket policy."""
        response = self._get("get_bucket_policy", ["NoSuchBucketPolicy"])
        return statements(json.loads(response["Policy"])) if response else []

    @cached_property
    def versioning(self) -> str:
        """`Enabled`, `Suspended`, or nothing where it never was."""
        status: str = (self._get("get_bucket_versioning") or {}).get("Status", "")
        return status

    @cached_property
    def rules(self) -> list[Json]:
        """The lifecycle rules, the disabled ones too."""
        absent = ["NoSuchLifecycleConfiguration"]
        response = self._get("get_bucket_lifecycle_configuration", absent) or {}
        return list(response.get("Rules", ()))

    @cached_property
    def notifications(self) -> Json:
        """Whom the bucket notifies, by the kind of receiver."""
        response = self._get("get_bucket_notification_configuration") or {}
        return {kind: those for kind, those in response.items() if kind != "ResponseMetadata"}

    @cached_property
    def kms_key(self) -> str | None:
        """The ARN of the key of your own that encrypts it, if any."""
        absent = ["ServerSideEncryptionConfigurationNotFoundError"]
        response = self._get("get_bucket_encryption", absent) or {}
        with reading("kms"):
            return key_arn(response)

    def folders(self, prefix: str, most: int = 1_000) -> list[str]:
        """The first path segments below a prefix, in order; at most 1,000."""
        listed = self._get(
            "list_objects_v2", ["NoSuchBucket"], Prefix=prefix, Delimiter="/", MaxKeys=most
        )
        below = (listed or {}).get("CommonPrefixes", ())
        return [folder["Prefix"].removeprefix(prefix).rstrip("/") for folder in below]

    def keys(self, prefix: str, after: str = "", most: int = 1_000) -> list[str]:
        """The first keys below a prefix that sort after `after`, in order; at most 1,000."""
        listed = self._get(
            "list_objects_v2", ["NoSuchBucket"], Prefix=prefix, StartAfter=after, MaxKeys=most
        )
        return [entry["Key"] for entry in (listed or {}).get("Contents", ())]

    def put(self, key: str, body: bytes, **conditions: str) -> tuple[int, Json]:
        """Put an object; the status, and the response. Never into a stranger's bucket."""
        where = {"Bucket": self.name, "Key": key, "ExpectedBucketOwner": self.owner}
        return self.stage.aws.status("s3", "put_object", Body=body, **where, **conditions)

    def remove(self, key: str, version: str) -> bool:
        """Whether one version of an object could be removed."""
        where = {"Bucket": self.name, "Key": key, "VersionId": version}
        return self.stage.aws.status("s3", "delete_object", **where)[0] < 300

    def _get(self, operation: str, absent: Sequence[str] = (), **arguments: Any) -> Json | None:
        if ":" in self.name:
            raise NotChecked(
                f"{self.name} is an access point, and the bucket behind it is not looked at",
                "Look at that bucket yourself, or name it in ARCHIVE_BUCKETS.",
            )
        return self.stage.aws.get("s3", operation, absent, Bucket=self.name, **arguments)
