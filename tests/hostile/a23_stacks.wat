;; Switches between stacks.
(component
  (core module
    (type $f (func))
    (type $c (cont $f))
    (func (param (ref null $c)) (resume $c (local.get 0)))))
