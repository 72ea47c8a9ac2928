//! Orders to a venue and its reports back.
