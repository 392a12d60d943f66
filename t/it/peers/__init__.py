# SPDX-License-Identifier: Apache-2.0
"""The other parties of the integration tests: pods, clients, CA, the proxy itself."""
