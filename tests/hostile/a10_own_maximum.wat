;; world: tool
;; Fails a thousand times to grow a memory past its own maximum, then grows another until that is refused: how many pages both have.
(module
  ;; part: memory
  (memory $small 1 2)
  ;; part: tool
  (func (export "hermes:plugin/toolset@0.1.0#call") (param i32 i32 i32 i32 i32 i32) (result i32)
    (local $n i32)
    (loop $fail
      (drop (memory.grow $small (i32.const 100)))
      (local.set $n (i32.add (local.get $n) (i32.const 1)))
      (br_if $fail (i32.lt_u (local.get $n) (i32.const 1000))))
    (loop $grow (br_if $grow (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))
    (call $answer (i32.add (memory.size) (memory.size $small)))))
