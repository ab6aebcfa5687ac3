//! A run file of any bytes.

use super::run_file::read_lines;
use crate::limits::Limits;

/// It is read to its end or to what is wrong with it.
pub fn run_file(data: &[u8]) {
    let limits = Limits {
        run_file: 1 << 20,
        run_file_line: 1 << 16,
        ..Limits::default()
    };
    read_lines(data, &limits);
}
