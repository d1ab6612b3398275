//! Commerce on the log: the reservation engine, its stores and the load generators.
