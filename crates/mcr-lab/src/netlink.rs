//! One netlink conversation inside a namespace.

use std::future::Future;

use anyhow::{Context, Result};
use rtnetlink::Handle;

use crate::namespace::Namespace;

/// Runs `work` with a netlink socket that belongs to `namespace`.
pub(crate) fn converse<T, F>(
    namespace: &Namespace,
    work: impl FnOnce(Handle) -> F + Send,
) -> Result<T>
where
    T: Send,
    F: Future<Output = Result<T, rtnetlink::Error>>,
{
    namespace.enter(|| {
        // One thread, so that the socket is made in the namespace just entered.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        runtime.block_on(async {
            let (connection, handle, _) =
                rtnetlink::new_connection().context("opening a netlink socket")?;
            let _driver = tokio::spawn(connection);
            Ok(work(handle).await?)
        })
    })
}
