"""Svix, and whoever sends through it (Clerk, Resend, …): Standard Webhooks under older names.

https://docs.svix.com/receiving/verifying-payloads/how-manual
"""

from chalicelib.sources.standard import scheme

SOURCE = scheme("svix", "svix", "webhook")
