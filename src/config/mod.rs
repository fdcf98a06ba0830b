//! houston.yaml becomes catalog, channels and settings.
