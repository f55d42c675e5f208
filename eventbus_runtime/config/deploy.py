"""`[deploy.*]`: inputs of the renderers, by target; a worker that runs has no use for them."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field, field_validator

from eventbus_runtime.config.section import Section, Texts

_Port: TypeAlias = Annotated[int, Field(ge=1, le=65535)]

REGIONS = ("atl", "nyc", "sfo", "tor", "ams", "fra", "lon", "blr", "sgp", "syd")
"""Those of App Platform."""


class WorkerDeploy(Section):
    """`[deploy.worker]`: the service that runs this file."""

    name: str | None = Field(None, description="Name of its objects; left out: <bus>-worker.")
    image: str | None = Field(None, description='Image that holds the handlers and eventbus-runtime, as "shop:1.4.2".')
    folder: str = Field("/app", description="Folder of that image where the handlers are; the file is put beside them.")
    replicas: int = Field(2, ge=1, description="How many of it.")
    cpu: str = Field("500m", description="Processor share of one.")
    memory: str = Field("512Mi", description="Memory of one.")
    creds_secret: str | None = Field(
        None,
        description="Secret, or file, that holds nats.creds; left out: <worker>-nats-creds, or none where the bus has "
        "no authentication. Empty: none.",
    )


class KubernetesDeploy(Section):
    """`[deploy.kubernetes]`; aws.eks takes these, too."""

    namespace: str | None = Field(None, description="Namespace of all objects; must be there already.")
    labels: dict[str, str] = Field({}, description="Labels that every object gets.")
    storage_class: str | None = Field(None, description="Class of the volumes; left out: the cluster's default.")
    spread: Literal["hard", "soft"] = Field(
        "hard", description="hard: no two servers on one node; soft: preferably, as for a cluster of one node."
    )
    reload: Literal["rollout", "sidecar"] = Field(
        "rollout",
        description="rollout: what changes takes a restart; sidecar: a second container has the servers read auth.conf "
        "again when its Secret changes.",
    )
    nack: bool = Field(False, description="Declare streams and consumers as objects of NACK, too.")
    auth_secret: str | None = Field(
        None, description="Secret that holds auth.conf; left out: <bus>-nats-auth. Empty: no authentication."
    )


class EksDeploy(Section):
    """`[deploy.eks]`, beside `[deploy.kubernetes]`."""

    zones: Texts = Field((), description="Availability zones of the nodes.")
    auto_mode: bool = Field(False, description="Whether it is an EKS Auto Mode cluster.")
    iops: int | None = Field(None, ge=3000, le=80_000, description="IOPS of each volume; left out: gp3's own.")
    throughput: int | None = Field(None, ge=125, le=2000, description="MiB/s of each volume; left out: gp3's own.")


class ComposeDeploy(Section):
    """`[deploy.compose]`: self_hosted."""

    project: str | None = Field(None, description="Name of the project; left out: the bus's.")
    host_port_base: _Port = Field(4222, description="Port of the first server on 127.0.0.1; the others follow.")
    auth_secret: str | None = Field(
        None, description="File with the auth block; left out: ./secrets/auth.conf. Empty: no authentication."
    )


class AppPlatformDeploy(Section):
    """`[deploy.app_platform]`"""

    name: str | None = Field(None, description="Name of the app; left out: the bus's.")
    region: str | None = Field(None, description=f"One of {', '.join(REGIONS)}; left out: the nearest.")
    size: str | None = Field(
        None, description="instance_size_slug of the bus; left out: the smallest that its limits fit."
    )
    external_url_secret: str | None = Field(
        None, description="Secret variable with the address of a bus elsewhere: only workers run here."
    )
    auth_secret: str | None = Field(
        None,
        description="Secret variable with the auth block; left out: <bus>-nats-auth, as a variable is called. "
        "Empty: no authentication.",
    )
    allow_ephemeral: bool = Field(False, description="Render the bus, though all of its data is lost at each restart.")

    @field_validator("region")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        if value is not None and value not in REGIONS:
            raise ValueError(f'"{value}" is no region of App Platform; expected one of {", ".join(REGIONS)}')
        return value


class DeployConfig(Section):
    """`[deploy]`"""

    worker: WorkerDeploy = Field({}, validate_default=True, description="The service that runs this file.")
    kubernetes: KubernetesDeploy = Field({}, validate_default=True, description="Targets kubernetes and aws.eks.")
    eks: EksDeploy = Field({}, validate_default=True, description="Target aws.eks.")
    compose: ComposeDeploy = Field({}, validate_default=True, description="Target self_hosted.")
    app_platform: AppPlatformDeploy = Field({}, validate_default=True, description="Target digitalocean.app_platform.")
