  ;; The first letter of the task's prompt, and the decimal number after it.
  (func $letter (param $task i32) (result i32) (i32.load8_u (i32.load (local.get $task))))
  (func $number (param $task i32) (result i32)
    (local $at i32) (local $end i32) (local $n i32)
    (local.set $at (i32.load (local.get $task)))
    (local.set $end (i32.add (local.get $at) (i32.load offset=4 (local.get $task))))
    (block $done
      (loop $digit
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
        (local.set $n (i32.add (i32.mul (local.get $n) (i32.const 10))
          (i32.sub (i32.load8_u (local.get $at)) (i32.const 48))))
        (br $digit)))
    (local.get $n))
