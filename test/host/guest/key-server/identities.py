"""
Keystone's WSGI application. At its first start, it fills the database that came empty: an administrator, the
user by which Barbican asks Keystone, and a catalog. That is what keystone-manage and some calls would do, without
waiting for one more start of Python.
"""

import json
import uuid
from unittest import mock

from keystone.wsgi.api import application  # noqa: F401  (loads configuration and back ends)
from keystone.cmd.bootstrap import Bootstrapper
from keystone.common import provider_api

PROVIDERS = provider_api.ProviderAPIs


def bootstrap(passwords):
    # The application has loaded them.
    with mock.patch("keystone.server.backends.load_backends"):
        it = Bootstrapper()
    it.admin_username = "admin"
    it.admin_password = passwords["admin"]
    it.project_name = "admin"
    it.admin_role_name = "admin"
    it.service_name = "keystone"
    # Barbican takes the internal one.
    it.public_url = it.internal_url = "https://keys.test:5000/v3"
    it.region_id = "one"
    it.immutable_roles = True
    it.bootstrap()
    add_barbican(it, passwords["barbican"])


def add_barbican(it, password):
    service = {"id": uuid.uuid4().hex, "name": "barbican", "type": "key-manager", "enabled": True}
    PROVIDERS.catalog_api.create_service(service["id"], service)
    endpoint = {
        "id": uuid.uuid4().hex,
        "interface": "public",
        "url": "https://keys.test:9311",
        "service_id": service["id"],
        "region_id": it.region_id,
        "enabled": True,
    }
    PROVIDERS.catalog_api.create_endpoint(endpoint["id"], endpoint)
    project = {"id": uuid.uuid4().hex, "name": "service", "domain_id": it.default_domain_id, "enabled": True}
    PROVIDERS.resource_api.create_project(project["id"], project)
    user = PROVIDERS.identity_api.create_user(
        {"name": "barbican", "enabled": True, "domain_id": it.default_domain_id, "password": password}
    )
    PROVIDERS.assignment_api.add_role_to_user_and_project(user["id"], project["id"], it.service_role_id)


if not PROVIDERS.resource_api.list_domains():
    with open("/etc/key-server/passwords.json") as file:
        bootstrap(json.load(file))
