//! What a guest does without the host: computing, growing, and never coming back.

use core::hint::black_box;

/// `n` rounds of arithmetic that no compiler folds.
pub fn compute(n: u64) -> u64 {
    (0..n).fold(1, |acc, i| {
        black_box(acc ^ i).rotate_left(5).wrapping_mul(0x9E37_79B9_7F4A_7C15)
    })
}

/// Grows the memory by single pages, `pages` of them or until one is refused: how many were given, and how many the memory has then.
pub fn allocate(pages: u64) -> [u64; 2] {
    let given = (0..pages).take_while(|_| machine::grow() != usize::MAX).count();
    [given as u64, machine::size() as u64]
}

/// Never ends.
pub fn spin() -> ! {
    let mut n = 0_u64;
    loop {
        n = black_box(n.wrapping_add(1));
    }
}

/// Calls itself until the stack is full.
#[allow(unconditional_recursion)]
pub fn recurse(depth: u64) -> u64 {
    let frame = black_box([depth; 32]);
    recurse(depth + 1) + black_box(frame)[(depth % 32) as usize]
}

/// What only WebAssembly has; elsewhere there is nothing to run these programs.
#[cfg(target_arch = "wasm32")]
pub mod machine {
    /// Grows the memory by one page: its size before, or `usize::MAX`.
    pub fn grow() -> usize {
        core::arch::wasm32::memory_grow::<0>(1)
    }

    /// The memory's pages.
    pub fn size() -> usize {
        core::arch::wasm32::memory_size::<0>()
    }

    /// Traps.
    pub fn trap() -> ! {
        core::arch::wasm32::unreachable()
    }
}

/// The same where it is only checked.
#[cfg(not(target_arch = "wasm32"))]
pub mod machine {
    /// Nothing grows.
    pub fn grow() -> usize {
        usize::MAX
    }

    /// There is no memory.
    pub fn size() -> usize {
        0
    }

    /// Ends the process.
    pub fn trap() -> ! {
        panic!("there is nothing to trap in")
    }
}
