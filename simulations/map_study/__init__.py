"""One shared map of tumour types: pooled, per site, averaged networks, and private anchors. See `__main__`."""
