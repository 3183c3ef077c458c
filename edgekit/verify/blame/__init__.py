"""Which layer is to blame for a wrong or a worse answer."""
