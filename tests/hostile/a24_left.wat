;; world: tool
;; Counts what stands in its fresh memory and table that it has not put there, then fills both for whoever has their place next, and counts that.
(module
  (memory (export "memory") 48)
  (table $table 20000 funcref)
  (elem declare func $answer)
  ;; part: room
  ;; part: tool
  (func (export "hermes:plugin/toolset@0.1.0#call") (param i32 i32 i32 i32 i32 i32) (result i32)
    (local $found i32)
    (if (i32.ne (memory.grow (i32.const 16)) (i32.const 48)) (then (unreachable)))
    (local.set $found (call $count))
    (memory.fill (i32.const 8192) (i32.const 7) (i32.sub (i32.shl (memory.size) (i32.const 16)) (i32.const 8192)))
    (table.fill $table (i32.const 0) (ref.func $answer) (table.size $table))
    ;; All words of its memory but the first 8 KiB, and all elements.
    (if (i32.ne (call $count) (i32.const 543264)) (then (unreachable)))
    (call $answer (local.get $found)))
  ;; Words of its memory that are not 0, above its own data and what the host tells it, and elements that are not null.
  (func $count (result i32)
    (local $found i32)
    (local $at i32)
    (local.set $at (i32.const 8192))
    (loop $word
      (local.set $found (i32.add (local.get $found) (i64.ne (i64.load (local.get $at)) (i64.const 0))))
      (local.set $at (i32.add (local.get $at) (i32.const 8)))
      (br_if $word (i32.lt_u (local.get $at) (i32.shl (memory.size) (i32.const 16)))))
    (local.set $at (i32.const 0))
    (loop $element
      (local.set $found (i32.add (local.get $found) (i32.eqz (ref.is_null (table.get $table (local.get $at))))))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br_if $element (i32.lt_u (local.get $at) (table.size $table))))
    (local.get $found)))
