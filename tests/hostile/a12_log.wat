;; world: strategy
;; Logs a text of as many bytes as its prompt says (n), one that ends outside its memory (o), one that is no UTF-8 (u), or at a level that there is
;; not (d).
(module
  (import "hermes:plugin/session@0.1.0" "log" (func $log (param i32 i32 i32)))
  (memory (export "memory") 1000)
  ;; part: room
  ;; part: strategy
  ;; part: prompt
  (data (i32.const 32) "good")
  (data (i32.const 48) "\ed\a0\80")
  (func (export "hermes:plugin/agent@0.1.0#run") (param $task i32) (result i32)
    (local $what i32) (local $bytes i32)
    (local.set $what (call $letter (local.get $task)))
    (local.set $bytes (call $number (local.get $task)))
    (if (i32.eq (local.get $what) (i32.const 111))
      (then (call $log (i32.const 2) (i32.const -1) (i32.const -1))))
    (if (i32.eq (local.get $what) (i32.const 117))
      (then (call $log (i32.const 2) (i32.const 48) (i32.const 3))))
    (if (i32.eq (local.get $what) (i32.const 100))
      (then (call $log (i32.const 9) (i32.const 32) (i32.const 4))))
    (if (i32.eq (local.get $what) (i32.const 110))
      (then (memory.fill (i32.const 8192) (i32.const 120) (local.get $bytes))
        (call $log (i32.const 2) (i32.const 8192) (local.get $bytes))))
    (call $done)))
