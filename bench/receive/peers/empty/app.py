"""The floor: what Lambda's Python costs with nothing in it."""


def app(event, context):
    """Answer, and do nothing."""
    return {"statusCode": 200, "body": "{}"}
