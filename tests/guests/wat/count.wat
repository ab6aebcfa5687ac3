;; world: strategy
;; Counts up to the decimal number in its prompt, with the same instructions in every round, and says that it is done.
(module
  (memory (export "memory") 1)
  (data (i32.const 16) "counted")
  (global $top (mut i32) (i32.const 4096))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $top) (i32.const 7)) (i32.const -8)))
    (global.set $top (i32.add (local.get $at) (local.get 3)))
    (local.get $at))
  (func $number (param $at i32) (param $len i32) (result i64)
    (local $n i64)
    (block $done
      (loop $digit
        (br_if $done (i32.eqz (local.get $len)))
        (local.set $n (i64.add (i64.mul (local.get $n) (i64.const 10))
          (i64.extend_i32_u (i32.sub (i32.load8_u (local.get $at)) (i32.const 48)))))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (local.set $len (i32.sub (local.get $len) (i32.const 1)))
        (br $digit)))
    (local.get $n))
  (func (export "hermes:plugin/agent@0.1.0#describe") (result i32) (unreachable))
  ;; The task comes by pointer; its prompt is the first field. The report stands at 64, all of its lists empty.
  (func (export "hermes:plugin/agent@0.1.0#run") (param $task i32) (result i32)
    (local $n i64)
    (local.set $n (call $number (i32.load (local.get $task)) (i32.load offset=4 (local.get $task))))
    (block $done
      (loop $round
        (br_if $done (i64.eqz (local.get $n)))
        (local.set $n (i64.sub (local.get $n) (i64.const 1)))
        (br $round)))
    (i32.store (i32.const 72) (i32.const 16))
    (i32.store (i32.const 76) (i32.const 7))
    (i32.const 64)))
