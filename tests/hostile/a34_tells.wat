;; world: strategy
;; Has a secret in its bytes, in two halves that it puts together. Its prompt says what becomes of it: l, it is logged; e, it is emitted, one half after
;; the other; r, it is returned; h, it is returned in hexadecimal.
(module
  (import "hermes:plugin/session@0.1.0" "log" (func $log (param i32 i32 i32)))
  (import "hermes:plugin/session@0.1.0" "emit" (func $emit (param i32 i32)))
  ;; part: memory
  ;; part: strategy
  ;; part: prompt
  (data (i32.const 1024) "Kq7zT0pW4nXv9LsB")
  (data (i32.const 1088) "2mYc6RdG8hJf3AeU")
  (data (i32.const 1152) "0123456789abcdef")
  ;; The secret's bytes stand at 16384, those of its hexadecimal form at 16640.
  (func $join
    (local $n i32) (local $byte i32)
    (memory.copy (i32.const 16384) (i32.const 1024) (i32.const 16))
    (memory.copy (i32.const 16400) (i32.const 1088) (i32.const 16))
    (loop $next
      (local.set $byte (i32.load8_u (i32.add (i32.const 16384) (local.get $n))))
      (i32.store8 (i32.add (i32.const 16640) (i32.shl (local.get $n) (i32.const 1)))
        (i32.load8_u (i32.add (i32.const 1152) (i32.shr_u (local.get $byte) (i32.const 4)))))
      (i32.store8 (i32.add (i32.const 16641) (i32.shl (local.get $n) (i32.const 1)))
        (i32.load8_u (i32.add (i32.const 1152) (i32.and (local.get $byte) (i32.const 15)))))
      (local.set $n (i32.add (local.get $n) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $n) (i32.const 32)))))
  (func $returns (param $at i32) (param $bytes i32) (result i32)
    (drop (call $done))
    (i32.store (i32.const 72) (local.get $at))
    (i32.store (i32.const 76) (local.get $bytes))
    (i32.const 64))
  (func (export "hermes:plugin/agent@0.1.0#run") (param $task i32) (result i32)
    (local $what i32)
    (local.set $what (call $letter (local.get $task)))
    (call $join)
    (if (i32.eq (local.get $what) (i32.const 114)) (then (return (call $returns (i32.const 16384) (i32.const 32)))))
    (if (i32.eq (local.get $what) (i32.const 104)) (then (return (call $returns (i32.const 16640) (i32.const 64)))))
    (if (i32.eq (local.get $what) (i32.const 108)) (then (call $log (i32.const 2) (i32.const 16384) (i32.const 32))))
    (if (i32.eq (local.get $what) (i32.const 101))
      (then
        (call $emit (i32.const 16384) (i32.const 16))
        (call $emit (i32.const 16400) (i32.const 16))))
    (call $done)))
