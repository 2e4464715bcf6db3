//! Content in each coding, made once and sent often.

use std::io::{self, Write as _};

use brotli::enc::BrotliEncoderParams;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::Coding;

/// Below this, the headers weigh more than what could be saved.
const SMALLEST: usize = 256;

/// `None` if it would not be smaller by a tenth at least: the client has to undo it, too.
pub(super) fn compress(content: &[u8], coding: Coding) -> io::Result<Option<Vec<u8>>> {
    if content.len() < SMALLEST {
        return Ok(None);
    }
    let compressed = match coding {
        Coding::Identity => return Ok(None),
        Coding::Brotli => {
            let params = BrotliEncoderParams {
                quality: 9,
                size_hint: content.len(),
                ..Default::default()
            };
            let mut compressed = Vec::new();
            brotli::BrotliCompress(&mut &content[..], &mut compressed, &params)?;
            compressed
        }
        Coding::Zstd => zstd::bulk::compress(content, 19)?,
        Coding::Gzip => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
            encoder.write_all(content)?;
            encoder.finish()?
        }
    };
    let worth_it = compressed.len() < content.len() / 10 * 9;
    Ok(worth_it.then_some(compressed))
}
