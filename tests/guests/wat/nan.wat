;; world: strategy
;; Divides nothing by nothing and adds to a NaN that carries a payload, and says what bits come of it: of the 32-bit quotient and the 64-bit sum.
(module
  (memory (export "memory") 1)
  (data (i32.const 24) " ")
  ;; A quiet NaN whose payload is not the canonical one. The dividend before it and the divisor are zero.
  (data (i32.const 520) "\01\00\00\00\00\00\fc\7f")
  (data (i32.const 1024) "0123456789abcdef")
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 4096))
  (func $hex (param $n i64) (param $digits i32) (param $at i32)
    (loop $digit
      (local.set $digits (i32.sub (local.get $digits) (i32.const 1)))
      (i32.store8 (i32.add (local.get $at) (local.get $digits))
        (i32.load8_u offset=1024 (i32.wrap_i64 (i64.and (local.get $n) (i64.const 15)))))
      (local.set $n (i64.shr_u (local.get $n) (i64.const 4)))
      (br_if $digit (local.get $digits))))
  (func (export "hermes:plugin/agent@0.1.0#describe") (result i32) (unreachable))
  ;; The report stands at 64, all of its lists empty.
  (func (export "hermes:plugin/agent@0.1.0#run") (param i32) (result i32)
    (call $hex
      (i64.extend_i32_u (i32.reinterpret_f32 (f32.div (f32.load (i32.const 512)) (f32.load (i32.const 516)))))
      (i32.const 8) (i32.const 16))
    (call $hex
      (i64.reinterpret_f64 (f64.add (f64.load (i32.const 520)) (f64.const 1)))
      (i32.const 16) (i32.const 25))
    (i32.store (i32.const 72) (i32.const 16))
    (i32.store (i32.const 76) (i32.const 25))
    (i32.const 64)))
