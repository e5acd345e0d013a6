//! A content-addressed store for built artefacts.
