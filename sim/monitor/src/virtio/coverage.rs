//! Which clauses are checked.
