//! A run file of any bytes, and what its lines bring.

use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::run_file::read_lines;
use crate::limits::Limits;
use crate::session::codec;
use crate::session::op::OpBody;
use crate::store::{Record, RunRow, StoredEntry};
use crate::supervisor::start::StartBody;

/// It is read to its end or to what is wrong with it.
pub fn run_file(data: &[u8]) {
    let limits = Limits {
        run_file: 1 << 20,
        run_file_line: 1 << 16,
        ..Limits::default()
    };
    read_lines(data, &limits);
}

/// What is read as anything that a run is made of is the same when it is written and read again.
pub fn record(data: &[u8]) {
    stays::<RunRow>(data);
    stays::<Record>(data);
    stays::<StoredEntry>(data);
    stays::<StartBody>(data);
    stays::<OpBody>(data);
}

fn stays<T: Serialize + DeserializeOwned + PartialEq + Debug>(data: &[u8]) {
    if let Ok(read) = codec::decode::<T>(data) {
        assert_eq!(codec::decode::<T>(&codec::encode(&read)), Ok(read));
    }
}
