;; world: strategy
;; Calls itself as deep as the decimal number in its prompt says, with nothing on a stack but the engine's own, and says that it was down there.
(module
  (memory (export "memory") 1)
  (data (i32.const 16) "deep")
  (global $top (mut i32) (i32.const 4096))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $top) (i32.const 7)) (i32.const -8)))
    (global.set $top (i32.add (local.get $at) (local.get 3)))
    (local.get $at))
  (func $number (param $at i32) (param $len i32) (result i32)
    (local $n i32)
    (block $done
      (loop $digit
        (br_if $done (i32.eqz (local.get $len)))
        (local.set $n (i32.add (i32.mul (local.get $n) (i32.const 10))
          (i32.sub (i32.load8_u (local.get $at)) (i32.const 48))))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (local.set $len (i32.sub (local.get $len) (i32.const 1)))
        (br $digit)))
    (local.get $n))
  ;; What it adds after the call keeps the call from being the last thing that it does.
  (func $down (param $n i32) (result i32)
    (if (result i32) (local.get $n)
      (then (i32.add (i32.const 1) (call $down (i32.sub (local.get $n) (i32.const 1)))))
      (else (i32.const 0))))
  (func (export "hermes:plugin/agent@0.1.0#describe") (result i32) (unreachable))
  ;; The task comes by pointer; its prompt is the first field. The report stands at 64, all of its lists empty.
  (func (export "hermes:plugin/agent@0.1.0#run") (param $task i32) (result i32)
    (drop (call $down (call $number (i32.load (local.get $task)) (i32.load offset=4 (local.get $task)))))
    (i32.store (i32.const 72) (i32.const 16))
    (i32.store (i32.const 76) (i32.const 4))
    (i32.const 64)))
