//! A world file: parse, validate, compile to bit masks and reach tables.
