//! `bringup replay FILE`: the life that a stream file holds, run again.

use bringup_bench::module::Loadable;

use crate::args::ReplayArgs;
use crate::failure::Failure;
use crate::life::Life;
use crate::output::Out;
use crate::run::{Outputs, live};
use crate::trace_file::TraceFile;

pub(crate) fn replay(args: &ReplayArgs, linked: Option<&'static Loadable>, out: &mut Out) -> Result<u8, Failure> {
    let trace = args.trace.as_deref().map(TraceFile::new).transpose()?;
    let life = Life::from_stream(&args.stream, linked, out)?;
    live(&life, &Outputs { trace, save: None, replayed: Some(args.stream.clone()) }, out)
}
