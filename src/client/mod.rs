//! Typed calls over the control socket.
//!
//! (helper: Connection::open(choice) with the search order of the contract, lazily connected channel, which socket answered)
