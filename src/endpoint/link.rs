//! A connection that is made when it is needed, shared while it works, and forgotten when it has failed.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Sleep;

/// Holds at most one connection.
#[derive(Debug)]
pub(super) struct Link<T> {
    held: Mutex<Held<T>>,
    /// How often a connection was tried.
    tries: AtomicU64,
}

#[derive(Debug)]
struct Held<T> {
    connection: Option<Arc<T>>,
    /// Why the last try failed.
    error: String,
}

impl<T> Default for Link<T> {
    fn default() -> Self {
        let held = Held { connection: None, error: String::new() };
        Self { held: Mutex::new(held), tries: AtomicU64::new(0) }
    }
}

impl<T> Link<T> {
    /// The connection, made by `connect` if there is none. Those who waited for a try that failed share its error.
    pub(super) async fn get(
        &self,
        connect: impl AsyncFnOnce() -> Result<T, String>,
    ) -> Result<Arc<T>, String> {
        let tries_before = self.tries.load(Ordering::Acquire);
        let mut held = self.held.lock().await;
        if let Some(connection) = &held.connection {
            return Ok(Arc::clone(connection));
        }
        if self.tries.load(Ordering::Acquire) > tries_before {
            return Err(held.error.clone());
        }
        let made = connect().await;
        self.tries.fetch_add(1, Ordering::AcqRel);
        match made {
            Ok(connection) => {
                let connection = Arc::new(connection);
                held.connection = Some(Arc::clone(&connection));
                Ok(connection)
            }
            Err(error) => {
                held.error.clone_from(&error);
                Err(error)
            }
        }
    }

    /// As [`Link::get`], before `time_is_up`, which is `whole` after the beginning.
    pub(super) async fn get_in_time(
        &self,
        time_is_up: Pin<&mut Sleep>,
        whole: Duration,
        connect: impl AsyncFnOnce() -> Result<T, String>,
    ) -> Result<Arc<T>, String> {
        tokio::select! {
            connected = self.get(connect) => connected,
            () = time_is_up => Err(format!("no connection in {} ms", whole.as_millis())),
        }
    }

    /// Forgets `failed`, unless another has taken its place.
    pub(super) async fn forget(&self, failed: &Arc<T>) {
        let mut held = self.held.lock().await;
        if held.connection.as_ref().is_some_and(|held| Arc::ptr_eq(held, failed)) {
            held.connection = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_connection_serves_all_until_it_fails() {
        let link = Link::default();
        let first = link.get(async || Ok(1)).await.unwrap();
        let second = link.get(async || Ok(2)).await.unwrap();
        assert_eq!((*first, *second), (1, 1));
        link.forget(&first).await;
        let third = link.get(async || Ok(3)).await.unwrap();
        link.forget(&first).await;
        assert_eq!(
            (*third, *link.get(async || Ok(4)).await.unwrap()),
            (3, 3),
            "an old failure harms nothing"
        );
    }

    #[tokio::test]
    async fn those_who_wait_share_one_failure() {
        let link = Arc::new(Link::<u8>::default());
        let (begin, wait) = tokio::sync::oneshot::channel::<()>();
        let first = tokio::spawn({
            let link = Arc::clone(&link);
            async move {
                link.get(async || {
                    let _begun = wait.await;
                    Err("refused".to_owned())
                })
                .await
            }
        });
        tokio::task::yield_now().await;
        let second = tokio::spawn({
            let link = Arc::clone(&link);
            async move { link.get(async || Err("asked again".to_owned())).await }
        });
        tokio::task::yield_now().await;
        begin.send(()).unwrap();
        assert_eq!(first.await.unwrap().unwrap_err(), "refused");
        assert_eq!(second.await.unwrap().unwrap_err(), "refused");
        assert_eq!(*link.get(async || Ok(7)).await.unwrap(), 7, "the next one tries anew");
    }
}
