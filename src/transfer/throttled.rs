//! Bytes on a try's data connection, within the bandwidth limits of its connection and the pod.

use bytes::BufMut;

use crate::failure::TryError;
use crate::ftp::{DownloadStream, UploadStream};
use crate::task::Operation;

use super::{TransferContext, TransferError};

/// [`DownloadStream::read`], once the limits allow more bytes.
pub(super) async fn read(
    download: &mut DownloadStream<'_>,
    context: &TransferContext<'_>,
    room: &mut (impl BufMut + Send),
) -> Result<usize, TryError> {
    let allowance = context.bandwidth.allow(Operation::Download, room.remaining_mut()).await;
    let read = download.read(&mut room.limit(allowance.bytes())).await?;
    allowance.spend(read);
    Ok(read)
}

/// Sends all of `chunk`, counting what is sent.
pub(super) async fn write(
    upload: &mut UploadStream<'_>,
    context: &TransferContext<'_>,
    chunk: &[u8],
) -> Result<(), TransferError> {
    let mut rest = chunk;
    while !rest.is_empty() {
        let allowance = context.bandwidth.allow(Operation::Upload, rest.len()).await;
        // A process that was suspended must not send what it has read since: the record's next owner may be resuming
        // this very file.
        context.stop.check()?;
        let (now, later) = rest.split_at(allowance.bytes().min(rest.len()));
        upload.write(now).await?;
        allowance.spend(now.len());
        context.gauge.add(now.len() as u64);
        context.metrics.bytes("upload", &context.task.remote, now.len() as u64);
        rest = later;
    }
    Ok(())
}
