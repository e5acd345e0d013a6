//! How many of something one address has at a time.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

/// Counts guests by household, and lets no more than so many of one in.
pub(crate) struct Crowd {
    most: usize,
    here: Mutex<HashMap<IpAddr, usize>>,
}

/// One who was let in, until it is dropped.
pub(crate) struct Guest {
    crowd: Arc<Crowd>,
    household: IpAddr,
}

impl Crowd {
    pub(crate) fn new(most: usize) -> Arc<Self> {
        let here = Mutex::default();
        Arc::new(Crowd { most, here })
    }

    /// `None` if there are enough from there.
    pub(crate) fn enter(self: &Arc<Self>, from: IpAddr) -> Option<Guest> {
        let household = household(from);
        let mut here = self.here.lock().unwrap_or_else(PoisonError::into_inner);
        let count = here.entry(household).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        let crowd = Arc::clone(self);
        Some(Guest { crowd, household })
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let here = self.crowd.here.lock();
        let mut here = here.unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = here.get_mut(&self.household) {
            *count -= 1;
            if *count == 0 {
                here.remove(&self.household);
            }
        }
    }
}

/// Addresses that one household has: of IPv6, as many as it likes below one prefix.
pub(crate) fn household(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let prefix = address.to_bits() & !u128::from(u64::MAX);
            IpAddr::from(Ipv6Addr::from_bits(prefix))
        }
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_household_has_so_many_at_a_time() {
        let crowd = Crowd::new(2);
        let enter = |from: &str| crowd.enter(from.parse().unwrap());
        let (first, second) = (enter("192.0.2.1"), enter("::ffff:192.0.2.1"));
        assert!(first.is_some() && second.is_some());
        assert!(enter("192.0.2.1").is_none());
        assert!(enter("192.0.2.2").is_some());
        drop(first);
        assert!(enter("192.0.2.1").is_some());
        let _six = (enter("2001:db8::1"), enter("2001:db8::2"));
        assert!(enter("2001:db8::3").is_none());
        assert!(enter("2001:db8:0:1::3").is_some());
        drop(second);
        assert_eq!(crowd.here.lock().unwrap().len(), 1);
    }
}
