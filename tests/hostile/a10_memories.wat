;; world: tool
;; Grows four memories to 20 MiB each, page by page, and writes to each page: how many pages they have when all that is left is refused.
(module
  ;; part: memory
  (memory $b 0)
  (memory $c 0)
  (memory $d 0)
  ;; part: tool
  (func (export "hermes:plugin/toolset@0.1.0#call") (param i32 i32 i32 i32 i32 i32) (result i32)
    (block $full
      (loop $grow
        (br_if $full (i32.eq (memory.grow $b (i32.const 1)) (i32.const -1)))
        (i32.store8 $b (i32.shl (i32.sub (memory.size $b) (i32.const 1)) (i32.const 16)) (i32.const 7))
        (br_if $grow (i32.lt_u (memory.size $b) (i32.const 320)))))
    (block $full
      (loop $grow
        (br_if $full (i32.eq (memory.grow $c (i32.const 1)) (i32.const -1)))
        (i32.store8 $c (i32.shl (i32.sub (memory.size $c) (i32.const 1)) (i32.const 16)) (i32.const 7))
        (br_if $grow (i32.lt_u (memory.size $c) (i32.const 320)))))
    (block $full
      (loop $grow
        (br_if $full (i32.eq (memory.grow $d (i32.const 1)) (i32.const -1)))
        (i32.store8 $d (i32.shl (i32.sub (memory.size $d) (i32.const 1)) (i32.const 16)) (i32.const 7))
        (br_if $grow (i32.lt_u (memory.size $d) (i32.const 320)))))
    (block $full
      (loop $grow
        (br_if $full (i32.eq (memory.grow (i32.const 1)) (i32.const -1)))
        (i32.store8 (i32.shl (i32.sub (memory.size) (i32.const 1)) (i32.const 16)) (i32.const 7))
        (br_if $grow (i32.lt_u (memory.size) (i32.const 320)))))
    (call $answer (i32.add (i32.add (memory.size) (memory.size $b)) (i32.add (memory.size $c) (memory.size $d))))))
