//! `bringup replay FILE`: the life that a stream file holds, run again.

use bringup_bench::module::Loadable;

use crate::args::ReplayArgs;
use crate::emit_test::emit;
use crate::failure::Failure;
use crate::life::Life;
use crate::output::Out;
use crate::output_file;
use crate::run::{Outputs, live};
use crate::trace_file::TraceFile;

pub(crate) fn replay(args: &ReplayArgs, linked: Option<&'static Loadable>, out: &mut Out) -> Result<u8, Failure> {
    let trace = args.trace.as_deref().map(TraceFile::new).transpose()?;
    let life = Life::from_stream(&args.stream, linked, out)?;
    if let Some(path) = &args.emit_test {
        let text = emit(&life, &args.stream.display().to_string(), out)?;
        match path {
            Some(path) => {
                output_file::write(path, text.as_bytes()).map_err(|error| Failure::file("write to", path, &error))?;
            }
            None => out.plain(text.trim_end()),
        }
        return Ok(0);
    }
    live(&life, &Outputs { trace, save: None, replayed: Some(args.stream.clone()) }, out)
}
