//! Sharing a room between texts of different lengths.

/// What each text may take of `room`: all of it where it is short, an even share of the rest where it is long.
pub(crate) fn shares(sizes: &[usize], room: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    order.sort_by_key(|place| sizes[*place]);
    let (mut shares, mut left) = (vec![0; sizes.len()], room);
    for (nth, place) in order.into_iter().enumerate() {
        let share = left / (sizes.len() - nth);
        shares[place] = sizes[place].min(share);
        left -= shares[place];
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_texts_leave_their_room_to_long_ones() {
        assert_eq!(shares(&[10, 20], 100), [10, 20]);
        assert_eq!(shares(&[500, 10, 500], 100), [45, 10, 45]);
        assert_eq!(shares(&[50, 50], 60), [30, 30]);
        assert!(shares(&[], 100).is_empty());
    }

    #[test]
    fn the_room_is_never_exceeded() {
        for room in [0, 1, 7, 1_000] {
            let shares = shares(&[3, 900, 0, 77, 5_000], room);
            assert!(shares.iter().sum::<usize>() <= room);
        }
    }
}
