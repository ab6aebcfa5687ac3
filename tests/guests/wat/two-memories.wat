;; world: tool
;; Grows two memories in turn, page by page, until both refuse: how many pages all its memories have then.
(module
  (memory (export "memory") 1)
  (memory $second 1)
  (func (export "hermes:plugin/toolset@0.1.0#call") (param i32 i32 i32 i32 i32 i32) (result i32)
    (local $refused i32)
    (loop $grow
      (local.set $refused (i32.and
        (i32.eq (memory.grow (i32.const 1)) (i32.const -1))
        (i32.eq (memory.grow $second (i32.const 1)) (i32.const -1))))
      (br_if $grow (i32.eqz (local.get $refused))))
    (call $answer (i32.add (memory.size) (memory.size $second))))

  ;; One tool, `measure`, without arguments: its name is at 16, its schema at 32, its definition at 128.
  (data (i32.const 16) "measure")
  (data (i32.const 32) "{\"type\":\"object\"}")
  (data (i32.const 128) "\10\00\00\00\07\00\00\00")
  (data (i32.const 148) "\10\00\00\00\07\00\00\00\20\00\00\00\11\00\00\00")
  (data (i32.const 200) "\80\00\00\00\01\00\00\00")
  (global $top (mut i32) (i32.const 4096))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $top) (i32.const 7)) (i32.const -8)))
    (global.set $top (i32.add (local.get $at) (local.get 3)))
    (local.get $at))
  (func (export "hermes:plugin/toolset@0.1.0#list-tools") (result i32) (i32.const 200))
  ;; Writes `n` in decimal so that it ends before 512, and answers it as one text: the result at 256, its content at 320.
  (func $answer (param $n i32) (result i32)
    (local $at i32)
    (local.set $at (i32.const 512))
    (loop $digit
      (local.set $at (i32.sub (local.get $at) (i32.const 1)))
      (i32.store8 (local.get $at) (i32.add (i32.const 48) (i32.rem_u (local.get $n) (i32.const 10))))
      (local.set $n (i32.div_u (local.get $n) (i32.const 10)))
      (br_if $digit (local.get $n)))
    (i32.store (i32.const 324) (local.get $at))
    (i32.store (i32.const 328) (i32.sub (i32.const 512) (local.get $at)))
    (i32.store (i32.const 260) (i32.const 320))
    (i32.store (i32.const 264) (i32.const 1))
    (i32.const 256)))
